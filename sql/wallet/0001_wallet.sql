-- +goose Up

-- The balance of each user. Money is frozen for an order while the order is PLACED; it is then paid or returned.
-- CHECK is the last guard: a statement without its own condition fails instead of making money.
CREATE TABLE wallets (
  user_id         VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  available_cents BIGINT NOT NULL DEFAULT 0,
  frozen_cents    BIGINT NOT NULL DEFAULT 0,
  created_at      DATETIME(6) NOT NULL,
  updated_at      DATETIME(6) NOT NULL,
  PRIMARY KEY (user_id),
  CONSTRAINT wallets_available CHECK (available_cents >= 0),
  CONSTRAINT wallets_frozen CHECK (frozen_cents >= 0)
) ENGINE = InnoDB;

-- All money that ever came or went. The sum of a user's entries is available + frozen: freezing moves money within the
-- wallet and has no entry. reference makes a repeated credit, payment or refund count once.
CREATE TABLE wallet_entries (
  id           BIGINT NOT NULL AUTO_INCREMENT,
  user_id      VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  kind         VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- opening, credit, payment, refund
  amount_cents BIGINT NOT NULL,                                            -- a payment is negative
  reference    VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- kind:user, kind:order number or kind:sender's name
  created_at   DATETIME(6) NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY wallet_entries_reference (reference),
  KEY wallet_entries_user (user_id, id)
) ENGINE = InnoDB;

-- The money of each order. A row in state void is a tombstone: the order was cancelled before its money was frozen, and
-- a freeze that arrives later is refused.
CREATE TABLE freezes (
  order_no     CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  user_id      VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  amount_cents BIGINT NOT NULL,
  state        VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- frozen, confirmed, cancelled, void
  created_at   DATETIME(6) NOT NULL,
  updated_at   DATETIME(6) NOT NULL,
  refunded_at  DATETIME(6) NULL, -- of a confirmed one: its payment was returned
  PRIMARY KEY (order_no),
  KEY freezes_user (user_id, state),
  CONSTRAINT freezes_amount CHECK (amount_cents >= 0)
) ENGINE = InnoDB;

-- +goose Down
DROP TABLE freezes;
DROP TABLE wallet_entries;
DROP TABLE wallets;
