"""Work that may never end, or end its process: in processes that are killed and started again."""
