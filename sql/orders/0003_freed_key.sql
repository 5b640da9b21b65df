-- +goose Up

-- Abandoning an order frees its idempotency key, so that a retry with the key can succeed. freed_key keeps the key that the
-- order had: until inventory has settled the abandoned order, its units may still be held, and an out_of_stock answer to the
-- retry may be caused by them. Such an answer is not stored.
ALTER TABLE orders
  ADD COLUMN freed_key VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NULL,
  ADD KEY orders_freed_key (user_id, freed_key);

-- +goose Down
ALTER TABLE orders DROP KEY orders_freed_key, DROP COLUMN freed_key;
