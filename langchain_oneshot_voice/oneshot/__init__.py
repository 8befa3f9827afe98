"""The client of the provider. Only this folder knows OneShot's URLs, headers and field names."""
