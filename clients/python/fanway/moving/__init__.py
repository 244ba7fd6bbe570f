"""Moving in and out: what is provisioned elsewhere, read from Azure's own files, and given back as one."""
