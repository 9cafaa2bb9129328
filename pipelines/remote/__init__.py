"""Moving a workspace to and from object stores."""
