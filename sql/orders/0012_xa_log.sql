-- +goose Up
-- The log of the coordinator of the flow "xa". A row is written as "preparing" in the transaction that inserts its
-- order, before anything is prepared. The step to "commit" or "abort" is the decision: one guarded UPDATE, which is
-- committed before any branch is.
CREATE TABLE xa_log (
  gtrid      CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- the order number
  state      VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- preparing, commit, abort, done
  decision   VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '', -- commit, abort; also of what is done
  created_at DATETIME(6) NOT NULL,
  open_since DATETIME(6) NULL, -- when the state began; NULL: done
  PRIMARY KEY (gtrid),
  KEY xa_log_open (open_since)
) ENGINE = InnoDB;

-- +goose Down
DROP TABLE xa_log;
