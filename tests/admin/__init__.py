"""The admin process, part by part."""
