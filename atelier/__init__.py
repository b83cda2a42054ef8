"""The ground that several parts share: contracts, photos, adapters on the device."""
