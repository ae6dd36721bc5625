"""Unlearning methods, one a file: each a LightningModule that a Trainer drives. `methods.common.base` is the contract."""
