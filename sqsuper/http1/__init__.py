"""Sans-I/O HTTP/1.1, shared by gateway and engine; imports neither, nor anything of ours."""
