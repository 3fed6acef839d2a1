-- What triggers on a user's table do: note the keys of changed rows, in the transaction that changes them, and
-- nothing else. A run of sync_table reads the rows afterwards. With the rights of the owner, so that whoever
-- writes the table needs none here; a source that is no more is passed over. Whoever writes the table is not
-- stopped by a column that was renamed or dropped either: then all rows are read.
--
-- Arguments of the trigger: the source's number, the column that identifies a row.

CREATE FUNCTION pgrecall.note_change()
RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    number constant integer := TG_ARGV[0];
    keys text[] := '{}';
    noted text;
BEGIN
    IF TG_OP = 'TRUNCATE' OR NOT EXISTS (
            SELECT FROM pg_attribute
             WHERE attrelid = TG_RELID AND attname = TG_ARGV[1] AND NOT attisdropped) THEN
        keys := ARRAY[NULL::text];
    ELSE
        IF TG_OP IN ('UPDATE', 'DELETE') THEN
            EXECUTE format('SELECT ($1).%I::text', TG_ARGV[1]) INTO noted USING OLD;
            keys := keys || noted;
        END IF;
        IF TG_OP IN ('INSERT', 'UPDATE') THEN
            EXECUTE format('SELECT ($1).%I::text', TG_ARGV[1]) INTO noted USING NEW;
            keys := CASE WHEN noted = ANY (keys) THEN keys ELSE keys || noted END;
        END IF;
    END IF;
    INSERT INTO pgrecall.changes (source_id, key)
    SELECT number, key FROM unnest(keys) AS key
     WHERE EXISTS (SELECT FROM pgrecall.sources AS s WHERE s.source_id = number);
    RETURN NULL;
END
$$;
