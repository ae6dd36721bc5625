"""Training the small CLIPs: recipes (YAML files beside this one), the corpus, the LightningModule."""
