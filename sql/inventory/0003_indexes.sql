-- +goose Up
-- Nobody reads by these: an audit adds up all lines, and open reservations are found through their orders. Each of them cost
-- every reservation an insert, a tenth of the time in which group commit writes a batch.
ALTER TABLE reservations DROP INDEX reservations_open;
ALTER TABLE reservation_lines DROP INDEX reservation_lines_sku;

-- +goose Down
ALTER TABLE reservation_lines ADD INDEX reservation_lines_sku (sku);
ALTER TABLE reservations ADD INDEX reservations_open (status, created_at);
