"""What a process of ours tells: traces and metrics to a collector, a page for Prometheus, logs."""
