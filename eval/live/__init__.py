"""Life after deployment: logs of served predictions watched and compared, and what a registry would serve."""
