"""What the service is made of: the lock file's makers and checks. Nothing here is imported by the service."""
