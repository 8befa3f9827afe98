"""The provider: the only folder that knows OneShot's URLs, headers and field names."""
