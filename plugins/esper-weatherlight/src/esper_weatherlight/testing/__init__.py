"""What tests of services need."""
