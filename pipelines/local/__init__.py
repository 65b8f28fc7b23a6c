"""What one machine needs: services, demo, doctor, simulated users."""
