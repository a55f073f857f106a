"""The face record, its place inside a picture, the faceset on disk, extraction."""
