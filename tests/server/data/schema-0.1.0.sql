-- The schema of the stores of 0.1.0, as SQLAlchemy wrote it.
CREATE TABLE assignments (
	assignment_id VARCHAR NOT NULL,
	number INTEGER NOT NULL,
	work VARCHAR NOT NULL,
	client_id VARCHAR NOT NULL,
	granted_secs FLOAT NOT NULL,
	PRIMARY KEY (assignment_id)
);
CREATE INDEX ix_assignments_number ON assignments (number);
CREATE TABLE certificates (
	serial VARCHAR NOT NULL,
	client_id VARCHAR NOT NULL,
	key_digest VARCHAR NOT NULL,
	issued_secs FLOAT NOT NULL,
	expires_secs FLOAT NOT NULL,
	revoked BOOLEAN NOT NULL,
	PRIMARY KEY (serial)
);
CREATE INDEX ix_certificates_client_id ON certificates (client_id);
CREATE TABLE clients (
	client_id VARCHAR NOT NULL,
	train_examples INTEGER NOT NULL,
	test_examples INTEGER NOT NULL,
	runtime_version VARCHAR NOT NULL,
	capable BOOLEAN NOT NULL,
	first_seen_secs FLOAT NOT NULL,
	PRIMARY KEY (client_id)
);
CREATE TABLE evaluations (
	number INTEGER NOT NULL,
	client_id VARCHAR NOT NULL,
	word_errors BIGINT NOT NULL,
	words BIGINT NOT NULL,
	utterances BIGINT NOT NULL,
	PRIMARY KEY (number, client_id)
);
CREATE TABLE invitations (
	digest VARCHAR NOT NULL,
	created_secs FLOAT NOT NULL,
	expires_secs FLOAT NOT NULL,
	key_digest VARCHAR NOT NULL,
	client_id VARCHAR NOT NULL,
	used_secs FLOAT NOT NULL,
	certificate VARCHAR NOT NULL,
	PRIMARY KEY (digest)
);
CREATE TABLE journal (
	seq INTEGER NOT NULL,
	number INTEGER NOT NULL,
	work VARCHAR NOT NULL,
	event JSON NOT NULL,
	PRIMARY KEY (seq)
);
CREATE TABLE meta (
	key VARCHAR NOT NULL,
	value JSON NOT NULL,
	PRIMARY KEY (key)
);
CREATE TABLE reports (
	client_id VARCHAR NOT NULL,
	report_id VARCHAR NOT NULL,
	assignment_id VARCHAR NOT NULL,
	number INTEGER NOT NULL,
	work VARCHAR NOT NULL,
	verdict INTEGER NOT NULL,
	detail VARCHAR NOT NULL,
	received_secs FLOAT NOT NULL,
	payload_digest VARCHAR NOT NULL,
	payload_bytes BIGINT NOT NULL,
	encoding VARCHAR NOT NULL,
	examples INTEGER NOT NULL,
	steps BIGINT NOT NULL,
	loss FLOAT NOT NULL,
	train_secs FLOAT NOT NULL,
	peak_memory_bytes BIGINT NOT NULL,
	planned_memory_bytes BIGINT NOT NULL,
	skipped_examples INTEGER NOT NULL,
	update_norm FLOAT NOT NULL,
	PRIMARY KEY (client_id, report_id)
);
CREATE INDEX ix_reports_number ON reports (number);
CREATE TABLE rounds (
	seq INTEGER NOT NULL,
	number INTEGER NOT NULL,
	work VARCHAR NOT NULL,
	phase VARCHAR NOT NULL,
	ending VARCHAR NOT NULL,
	rules JSON NOT NULL,
	books JSON NOT NULL,
	started_secs FLOAT NOT NULL,
	ended_secs FLOAT NOT NULL,
	weights_digest VARCHAR NOT NULL,
	PRIMARY KEY (seq)
);
CREATE TABLE traffic (
	number INTEGER NOT NULL,
	kind VARCHAR NOT NULL,
	client_id VARCHAR NOT NULL,
	bytes_down BIGINT NOT NULL,
	bytes_up BIGINT NOT NULL,
	PRIMARY KEY (number, kind, client_id)
);
