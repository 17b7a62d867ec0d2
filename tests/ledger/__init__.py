"""The store, the writer and what reads them: on real files, with faults put in their way."""
