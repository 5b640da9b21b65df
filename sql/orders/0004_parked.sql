-- +goose Up

-- A message that the broker does not take is set aside, so that the messages of other keys go on. failed_at is its last
-- attempt; before retry_at neither the message nor a younger one of its key is sent. strikes counts the attempts that were
-- the message's own fault: it is invalid, or messages of other keys were sent meanwhile. With enough of them the message is
-- parked: parked_at is set, retry_at is the year 9999, and it waits for an operator.
ALTER TABLE outbox
  ADD COLUMN strikes   INT NOT NULL DEFAULT 0,
  ADD COLUMN failed_at DATETIME(6) NULL,
  ADD COLUMN retry_at  DATETIME(6) NULL, -- NULL unless the last attempt failed
  ADD COLUMN parked_at DATETIME(6) NULL,
  ADD COLUMN failure   VARCHAR(255) CHARACTER SET utf8mb4 NOT NULL DEFAULT '', -- of the last attempt that failed
  ADD KEY outbox_retry (retry_at);

-- +goose Down
ALTER TABLE outbox DROP KEY outbox_retry, DROP COLUMN failure, DROP COLUMN parked_at, DROP COLUMN retry_at,
  DROP COLUMN failed_at, DROP COLUMN strikes;
