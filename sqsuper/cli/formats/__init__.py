"""What people have already: files that tell which token reaches whose SQ. Read, never written."""
