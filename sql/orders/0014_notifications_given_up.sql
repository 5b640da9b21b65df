-- +goose Up
-- Counts the notifications that were given up without reading all that were delivered. The column is computed, so the
-- statements of an earlier version need not know it, and its key changes only when a notification is given up.
ALTER TABLE notifications ADD COLUMN given_up TINYINT GENERATED ALWAYS AS (CASE WHEN state = 'given_up' THEN 1 END) VIRTUAL;
ALTER TABLE notifications ADD KEY notifications_given_up (given_up);

-- +goose Down
ALTER TABLE notifications DROP KEY notifications_given_up;
ALTER TABLE notifications DROP COLUMN given_up;
