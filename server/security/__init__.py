"""Who may talk to the server: authority, credentials, enrolment, TLS."""
