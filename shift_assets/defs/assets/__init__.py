"""Assets; one file per stage. They declare partitions, inputs and metadata, and call the domain."""
