-- A filter such as {"lang": "en", "year": {"$gte": 2024}} as one jsonpath predicate, for
-- metadata @@ pgrecall.filter(...). Keys and values are quoted as JSON, so no value can leave its place.
--
-- A predicate of jsonpath is true, false or unknown (types that do not compare); unknown counts as
-- false here, also below a negation, so {"$ne": 5} holds for a text, for null and for no value at all.
-- A list matches if any of its elements does, as in jsonpath's lax mode; a key of objects in a list is
-- looked up in each. Texts compare by code point, false is less than true, null is equal to null.

CREATE FUNCTION pgrecall.filter_literal(value jsonb, operator text)
RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF value IS NULL OR jsonb_typeof(value) IN ('object', 'array') THEN
        RAISE EXCEPTION USING ERRCODE = 'PR003', MESSAGE = format(
            '%s compares with a text, a number, true, false or null; for a list use $in', operator);
    END IF;
    RETURN value::text;
END
$$;

CREATE FUNCTION pgrecall.filter_not(predicate text)
RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    -- A filter expression lets only "true" through. Written once: nested negations stay short.
    RETURN format('!(exists($ ? (%s)))', predicate);
END
$$;

-- Predicates joined by && or ||, a hundred at a time: Postgres goes one call deeper for each operator of a
-- chain, and twenty thousand would be too deep. NULL if there are none.
CREATE FUNCTION pgrecall.filter_join(predicates text[], operator text)
RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    WHILE cardinality(predicates) > 1 LOOP
        predicates := ARRAY(
            SELECT format('(%s)', string_agg(predicate, operator ORDER BY n))
              FROM unnest(predicates) WITH ORDINALITY AS p (predicate, n)
             GROUP BY (n - 1) / 100 ORDER BY (n - 1) / 100);
    END LOOP;
    RETURN predicates[1];
END
$$;

CREATE FUNCTION pgrecall.filter_predicate(filter jsonb, path text)
RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    key text;
    value jsonb;
    part text;
    parts text[] := '{}';
    comparison constant jsonb := '{"$eq": "==", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}';
BEGIN
    IF jsonb_typeof(filter) <> 'object' THEN
        IF path = '$' THEN
            RAISE EXCEPTION USING ERRCODE = 'PR003', MESSAGE = 'a filter is an object: {"key": value}';
        END IF;
        RETURN format('%s == %s', path, pgrecall.filter_literal(filter, 'a filter'));
    END IF;
    FOR key, value IN SELECT * FROM jsonb_each(filter) LOOP
        IF key NOT LIKE '$%' THEN
            part := pgrecall.filter_predicate(value, path || '.' || to_jsonb(key)::text);
        ELSIF key IN ('$and', '$or') THEN
            IF jsonb_typeof(value) <> 'array' THEN
                RAISE EXCEPTION USING ERRCODE = 'PR003',
                    MESSAGE = format('%s takes a list of filters', key);
            END IF;
            SELECT coalesce(
                       pgrecall.filter_join(
                           array_agg(format('(%s)', pgrecall.filter_predicate(v, path))),
                           CASE key WHEN '$and' THEN ' && ' ELSE ' || ' END),
                       CASE key WHEN '$and' THEN '1 == 1' ELSE '1 == 0' END)
              INTO part
              FROM jsonb_array_elements(value) AS v;
        ELSIF key = '$not' THEN
            part := pgrecall.filter_not(pgrecall.filter_predicate(value, path));
        ELSIF path = '$' THEN
            RAISE EXCEPTION USING ERRCODE = 'PR003', MESSAGE = format(
                '%s has no place at the top of a filter: write {"key": {"%s": ...}}', key, key);
        ELSIF comparison ? key THEN
            part := format('%s %s %s', path, comparison ->> key, pgrecall.filter_literal(value, key));
        ELSIF key = '$ne' THEN
            part := pgrecall.filter_not(
                format('%s == %s', path, pgrecall.filter_literal(value, key)));
        ELSIF key IN ('$in', '$nin') THEN
            IF jsonb_typeof(value) <> 'array' THEN
                RAISE EXCEPTION USING ERRCODE = 'PR003',
                    MESSAGE = format('%s takes a list of values', key);
            END IF;
            SELECT coalesce(
                       pgrecall.filter_join(
                           array_agg(format('%s == %s', path, pgrecall.filter_literal(v, key))), ' || '),
                       '1 == 0')
              INTO part
              FROM jsonb_array_elements(value) AS v;
            IF key = '$nin' THEN
                part := pgrecall.filter_not(part);
            END IF;
        ELSIF key = '$exists' THEN
            IF jsonb_typeof(value) <> 'boolean' THEN
                RAISE EXCEPTION USING ERRCODE = 'PR003', MESSAGE = '$exists takes true or false';
            END IF;
            part := CASE WHEN value::boolean THEN 'exists(%s)' ELSE '!(exists(%s))' END;
            part := format(part, path);
        ELSE
            RAISE EXCEPTION USING ERRCODE = 'PR003', MESSAGE = format(
                'unknown operator %s: use $eq $ne $gt $gte $lt $lte $in $nin $exists $and $or $not',
                key);
        END IF;
        parts := parts || format('(%s)', part);
    END LOOP;
    IF parts = '{}' THEN
        RAISE EXCEPTION USING ERRCODE = 'PR003',
            MESSAGE = format('the filter %s is empty', path);
    END IF;
    RETURN pgrecall.filter_join(parts, ' && ');
END
$$;

-- NULL and {} let every row through.
CREATE FUNCTION pgrecall.filter(filter jsonb)
RETURNS jsonpath
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF filter IS NULL OR filter = '{}' THEN
        RETURN NULL;
    END IF;
    RETURN pgrecall.filter_predicate(filter, '$')::jsonpath;
END
$$;
