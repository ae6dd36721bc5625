"""What data sets share: the dataset contract, requests, images, files, caches."""
