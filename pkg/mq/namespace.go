package mq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// DeleteNamespace deletes the topics and the consumer groups of a namespace, with their messages, from the brokers
// behind a name server. It is for programs that chose a namespace for one run, after their buses are closed: a bus that
// still runs would create its topics again. The error is [ErrUnavailable], or says that the namespace is empty.
//
// The development broker has no list of groups; it keeps their offsets with their topics.
func DeleteNamespace(ctx context.Context, namesrv, namespace string) error {
	if namespace == "" {
		return errors.New("delete namespace: it is empty, which would be every topic")
	}
	ns, err := dialWire(ctx, namesrv)
	if err != nil {
		return ErrUnavailable.NotExecuted().Wrap(err)
	}
	defer ns.close()
	prefix := Config{Namespace: namespace}.names().prefix
	all, err := ns.topics(ctx)
	if err != nil {
		return ErrUnavailable.Wrap(err)
	}
	topics := inNamespace(all, prefix)
	masters, err := ns.masters(ctx)
	if err != nil {
		return ErrUnavailable.Wrap(err)
	}
	for name, addr := range masters {
		if err := onBroker(ctx, addr, func(w *wire) error { return w.deleteAll(ctx, prefix, topics) }); err != nil {
			return ErrUnavailable.Wrap(fmt.Errorf("delete namespace %s on %s: %w", namespace, name, err))
		}
	}
	for _, topic := range topics { // the name server keeps the routes of topics that a broker no longer has
		if _, err := ns.call(ctx, requestForgetTopic, map[string]string{"topic": topic}); err != nil {
			return ErrUnavailable.Wrap(fmt.Errorf("delete the route of %s: %w", topic, err))
		}
	}
	return nil
}

// inNamespace returns the topics whose names begin with a namespace's prefix, the groups' own included.
func inNamespace(topics []string, prefix string) []string {
	var found []string
	for _, topic := range topics {
		name := strings.TrimPrefix(strings.TrimPrefix(topic, retryPrefix), deadLetterPrefix)
		if strings.HasPrefix(name, prefix) {
			found = append(found, topic)
		}
	}
	return found
}

// Topics asks a name server for the names of all topics, as the broker has them: with their namespaces. The error is
// [ErrUnavailable].
func Topics(ctx context.Context, namesrv string) ([]string, error) {
	ns, err := dialWire(ctx, namesrv)
	if err != nil {
		return nil, ErrUnavailable.NotExecuted().Wrap(err)
	}
	defer ns.close()
	topics, err := ns.topics(ctx)
	if err != nil {
		return nil, ErrUnavailable.Wrap(err)
	}
	return topics, nil
}

// topics asks the name server at the other end for its topics.
func (w *wire) topics(ctx context.Context) ([]string, error) {
	body, err := w.call(ctx, requestTopics, nil)
	if err != nil {
		return nil, fmt.Errorf("ask for the topics: %w", err)
	}
	var answer struct {
		Topics []string `json:"topicList"`
	}
	err = decodeLoose(body, &answer)
	return answer.Topics, err
}

// deleteAll deletes the topics, and the groups whose names begin with the prefix, from the broker at the other end.
func (w *wire) deleteAll(ctx context.Context, prefix string, topics []string) error {
	for _, topic := range topics {
		if _, err := w.call(ctx, requestDeleteTopic, map[string]string{"topic": topic}); err != nil {
			return fmt.Errorf("delete topic %s: %w", topic, err)
		}
	}
	body, err := w.call(ctx, requestGroups, nil)
	if err != nil {
		return fmt.Errorf("ask for the groups: %w", err)
	}
	var answer struct {
		Groups map[string]json.RawMessage `json:"subscriptionGroupTable"`
	}
	if err := decodeLoose(body, &answer); err != nil {
		return err
	}
	for group := range answer.Groups {
		if !strings.HasPrefix(group, prefix) {
			continue
		}
		if _, err := w.call(ctx, requestDeleteGroup, map[string]string{"groupName": group, "cleanOffset": "true"}); err != nil {
			return fmt.Errorf("delete group %s: %w", group, err)
		}
	}
	return nil
}
