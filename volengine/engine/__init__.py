"""The engine: stages, plans, memory, ledger, runs. The only package that runs Dask."""
