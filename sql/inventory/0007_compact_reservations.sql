-- +goose Up
-- A reservation of one line, as most are, has the line in its own row, and request_hash is '': the line is the request.
-- An order of more lines has sku NULL and its lines in reservation_lines, as all orders had before. No column is
-- dropped yet, because replicas of the version before this one still work with them.
ALTER TABLE reservations
  ADD COLUMN sku              VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
  ADD COLUMN quantity         INT UNSIGNED NULL,
  ADD COLUMN unit_price_cents BIGINT NULL;
-- As defaults they need not be said for each of a thousand rows.
ALTER TABLE reservations
  ALTER COLUMN status SET DEFAULT 'reserved',
  ALTER COLUMN request_hash SET DEFAULT '';

-- The lines of all reservations, wherever they are stored. Tombstones have none.
CREATE VIEW all_reservation_lines AS
  SELECT r.order_no, r.status, COALESCE(r.sku, l.sku) AS sku, COALESCE(r.quantity, l.quantity) AS quantity,
    COALESCE(r.unit_price_cents, l.unit_price_cents) AS unit_price_cents
  FROM reservations r LEFT JOIN reservation_lines l ON l.order_no = r.order_no AND r.sku IS NULL
  WHERE r.sku IS NOT NULL OR l.sku IS NOT NULL;

-- Whether reservations of one line may be written in one row. A replica of the version before this one would not find
-- their lines, so a database with reservations begins with 0. Then the rows of earlier reservations are converted: up
-- to converted_to, and done when a pass has found none. The table has one row.
CREATE TABLE reservation_form (
  id           TINYINT NOT NULL,
  compact      TINYINT(1) NOT NULL,
  converted_to CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
  converted    BIGINT NOT NULL DEFAULT 0, -- by the current pass
  done         TINYINT(1) NOT NULL,
  PRIMARY KEY (id)
) ENGINE = InnoDB;
INSERT INTO reservation_form (id, compact, done)
  SELECT 1, NOT EXISTS (SELECT 1 FROM reservations), NOT EXISTS (SELECT 1 FROM reservations);

-- +goose Down
INSERT INTO reservation_lines (order_no, sku, quantity, unit_price_cents)
  SELECT order_no, sku, quantity, unit_price_cents FROM reservations WHERE sku IS NOT NULL;
DROP TABLE reservation_form;
DROP VIEW all_reservation_lines;
ALTER TABLE reservations ALTER COLUMN status DROP DEFAULT, ALTER COLUMN request_hash DROP DEFAULT;
ALTER TABLE reservations DROP COLUMN sku, DROP COLUMN quantity, DROP COLUMN unit_price_cents;
