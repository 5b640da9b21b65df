-- +goose Up
-- Where a buyer is notified. The secret signs each notification, so it is stored as it is and not as a hash.
CREATE TABLE webhooks (
  user_id    VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  url        VARCHAR(1024) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  secret     VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  updated_at DATETIME(6) NOT NULL,
  PRIMARY KEY (user_id)
) ENGINE = InnoDB;

-- The notifications of buyers. A row is written in the transaction that makes its order PAID, and leaves with its order.
-- next_at is the truth about what is to be sent and when; messages only hasten it. An attempt claims its row: state is
-- sending, and next_at is when the claim ends. attempts grows with each claim, so it tells a claim from a later one.
CREATE TABLE notifications (
  order_no     CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  event        VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- order.paid
  user_id      VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  amount_cents BIGINT NOT NULL,
  occurred_at  DATETIME(6) NOT NULL, -- when the order was paid
  state        VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- pending, sending, delivered, given_up
  attempts     INT NOT NULL DEFAULT 0,      -- of all time
  tries        INT NOT NULL DEFAULT 0,      -- attempts since the row was written, or was last to be sent again
  next_at      DATETIME(6) NULL,            -- NULL: delivered or given up
  last_status  SMALLINT NOT NULL DEFAULT 0, -- of the last answer; 0: there was none
  failure      VARCHAR(255) CHARACTER SET utf8mb4 NOT NULL DEFAULT '', -- of the last attempt
  updated_at   DATETIME(6) NOT NULL,
  PRIMARY KEY (order_no, event),
  KEY notifications_due (next_at, user_id) -- with user_id, so that the search passes a slow buyer's rows without reading them
) ENGINE = InnoDB;

-- +goose Down
DROP TABLE notifications;
DROP TABLE webhooks;
