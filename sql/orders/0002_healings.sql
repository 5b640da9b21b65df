-- +goose Up

-- What the backstops did, so that an audit can say what healed an order after a crash: a counter of the process that
-- healed it would be gone with the next crash. A row is written in the transaction whose work it names.
CREATE TABLE healings (
  order_no  VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  healer    VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- check-back, sweeper, reconciler, relay
  deed      VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- what it did
  healed_at DATETIME(6) NOT NULL,                                       -- the first time
  PRIMARY KEY (order_no, healer, deed),
  KEY healings_newest (healed_at)
) ENGINE = InnoDB;

-- +goose Down
DROP TABLE healings;
