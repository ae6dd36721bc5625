"""What any part of the benchmark may use: devices, statistics, signals, terminals."""
