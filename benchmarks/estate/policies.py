from erasure.policies import DELETE, policy

for model, link, text in (
    ("Project", "organization", "name"),
    ("Task", "project", "title"),
    ("Comment", "task", "body"),
    ("Endpoint", "organization", "url"),
    ("Delivery", "endpoint", "body"),
    ("Attempt", "delivery", "answer"),
):
    policy(f"estate.{model}", links={link: DELETE}, personal=[text], opaque=["id"])
