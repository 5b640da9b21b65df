-- +goose Up
-- The orders that wait in the queue of the flow "queue". A row is written in the transaction that inserts its order and
-- deleted in the one that decides it, so that their number is the depth of the queue.
CREATE TABLE queued_orders (
  order_no  CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  queued_at DATETIME(6) NOT NULL,
  sent_at   DATETIME(6) NOT NULL, -- of its last message: an order that waits for long is sent again
  PRIMARY KEY (order_no)
) ENGINE = InnoDB;

-- +goose Down
DROP TABLE queued_orders;
