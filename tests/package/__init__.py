"""What the Debian package brings beside the program, held against the program itself."""
