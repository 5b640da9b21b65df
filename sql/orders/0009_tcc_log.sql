-- +goose Up
-- The log of the coordinator of the flow "tcc". A row is written in the transaction that inserts its order, and follows
-- the order's status in each transaction that changes it, so that a phase is decided together with the order. The
-- coordinator executes what the row says: confirming, cancelling and refunding are its work.
CREATE TABLE tcc_log (
  order_no     CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  user_id      VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  amount_cents BIGINT NULL, -- known when PLACED
  state        VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- trying, tried, confirming, cancelling, refunding, done
  attempts     INT NOT NULL DEFAULT 0, -- to execute the phase
  next_at      DATETIME(6) NULL,       -- when the coordinator looks at the row again; NULL: done
  failure      VARCHAR(255) CHARACTER SET utf8mb4 NOT NULL DEFAULT '', -- of the last attempt
  created_at   DATETIME(6) NOT NULL,
  updated_at   DATETIME(6) NOT NULL,   -- when the state changed
  PRIMARY KEY (order_no),
  KEY tcc_log_due (next_at)
) ENGINE = InnoDB;

-- +goose Down
DROP TABLE tcc_log;
