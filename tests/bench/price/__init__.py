"""The price guard: two commits under the same loads in turns, and what differs beyond noise."""
