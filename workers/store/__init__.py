"""What a worker keeps: pages in LMDB behind an fsynced journal, written a batch at a time."""
