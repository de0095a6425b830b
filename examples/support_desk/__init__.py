"""A support desk; `turnkeeper dev examples.support_desk` runs it from the folder above `examples`."""

from examples.support_desk.agents import turnkeeper as turnkeeper
