"""Model cards and manifests: which measured reports speak of a folder, and how their figures are quoted."""
