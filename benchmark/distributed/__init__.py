"""One cell over several devices: its unlearning runs in as many processes, one a device, each with a Trainer."""
