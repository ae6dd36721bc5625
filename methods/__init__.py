"""Unlearning methods, one a file: each a LightningModule that a Trainer drives. `methods.base` is the contract."""
