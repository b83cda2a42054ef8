"""The demo: one subject onboarded on this machine, ending in a contact sheet."""
