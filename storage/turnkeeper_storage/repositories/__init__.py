"""SQL by table. A repository executes in the unit of work that it is given and never commits."""
