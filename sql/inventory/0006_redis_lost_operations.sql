-- +goose Up

-- The operations that Redis has answered and that MySQL will never have, as the replicas report them: each of them remembers what it
-- was answered until MySQL has it. redis_losses has their number and the sum of their units.
CREATE TABLE redis_lost_operations (
  epoch      BIGINT NOT NULL, -- in which Redis answered
  order_no   CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  operation  VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- reserve, confirm, release
  units      BIGINT NOT NULL, -- taken by a reserve; negative: given back by a release
  noticed_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  PRIMARY KEY (epoch, order_no, operation)
) ENGINE = InnoDB;

-- The numbers of entries identified them only as long as Redis had one history. Each replica has a number of its own now, in Redis.
ALTER TABLE redis_stream DROP COLUMN applied_seq, DROP COLUMN applied_net;
ALTER TABLE redis_losses DROP COLUMN seq, DROP COLUMN net;

-- +goose Down
ALTER TABLE redis_losses ADD COLUMN seq BIGINT NOT NULL DEFAULT 0, ADD COLUMN net BIGINT NOT NULL DEFAULT 0;
ALTER TABLE redis_stream ADD COLUMN applied_seq BIGINT NOT NULL DEFAULT 0, ADD COLUMN applied_net BIGINT NOT NULL DEFAULT 0;
DROP TABLE redis_lost_operations;
