"""What tenants choose from besides images: flavors and key pairs."""
