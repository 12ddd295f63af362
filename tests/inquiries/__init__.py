"""Inquiries, without a process."""
