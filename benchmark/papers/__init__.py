"""The papers' tables, published and measured numbers side by side."""
