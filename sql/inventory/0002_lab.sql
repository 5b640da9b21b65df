-- +goose Up
-- A SKU that is marked for the lab may be sold by the strategies that lose updates on purpose. It is marked when its product
-- is created and never afterwards: an unsafe strategy must have no way to real stock.
ALTER TABLE stock ADD COLUMN lab TINYINT(1) NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE stock DROP COLUMN lab;
